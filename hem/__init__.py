"""HEM."""

from hem.functional import *
