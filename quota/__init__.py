"""The books: accounts, grants, holds, entries and rates."""
