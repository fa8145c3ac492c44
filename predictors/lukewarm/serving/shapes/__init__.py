"""Request shapes of platforms and clients, one small file each, all mapped onto the same engine."""
