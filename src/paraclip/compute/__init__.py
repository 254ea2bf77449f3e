"""How vectors are computed: exact search, queue of micro-batches, ONNX sessions."""
