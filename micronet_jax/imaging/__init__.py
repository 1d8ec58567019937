"""Any image or slide behind one interface: decoding, reading, resolution, tissue."""
