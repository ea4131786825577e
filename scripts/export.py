"""Write a finished run's network for programs without regtorch: python scripts/export.py run=outputs/a out=model.onnx."""

from regtorch.cli.export import main

if __name__ == "__main__":
    main()
