"""The paper's experiments: trained, scored, drawn and judged; see `study`."""
