"""Bearer tokens of the HTTP shim: who may call it, as whom."""
