"""The gate: what runs at a batch site and does there what the federation asks for, within the site's own policy.

These modules are the source. `assemble` puts them and one dialect together into one file, which a site's administrator
can read from top to bottom and installs owned by root. So they import the standard library and each other alone, and
keep to the syntax of Python 3.6, because login nodes are old: annotations are quoted, and never evaluated.

What it promises to a site:

- It acts for the accounts on the site's own list only, as that account, never as root; root only asks the scheduler.
- No text of a request reaches a shell, or an option of the scheduler that the site's policy does not allow.
- Each request leaves a line in the site's log.
- What it does not understand, and what its policy does not name, is refused.
"""
