"""The whole product against faults: real processes, real interfaces, judged by the conservation equation."""
