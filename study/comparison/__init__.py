"""The rules of the comparison: replicates, the primary endpoint, claims, and the words for them."""
