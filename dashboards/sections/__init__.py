"""The sections of the page: each takes the page's view of a run and gives the blocks to show. One module a subject."""
