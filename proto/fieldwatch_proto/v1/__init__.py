"""Generated from the .proto files beside it by `./dev proto`; never edited by hand."""
