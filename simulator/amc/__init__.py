"""The AMC administration API: instances, advertisers, collaborations, mapping tables and invitations."""
