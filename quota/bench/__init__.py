"""How fast the books are on this machine, and whether they stay exact meanwhile: `nbfed bench ledger`."""
