"""The ground under all houses: database, clock, ids, persons, sites, audit trail, translations, errors."""
