"""Self-attention with the choices that models differ in, drawn one by one."""
