"""Time and quota left, inside JupyterLab: what is installed into notebook environments, and how it is packed.

`nbfed_lab` is installed beside JupyterLab, on any site; it imports nothing of this project and runs on Python 3.8 or
newer. `wheel` packs it.
"""
