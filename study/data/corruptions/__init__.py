"""The 19 common corruptions of Hendrycks & Dietterich (2019), as pure functions of images, strength and generators."""
