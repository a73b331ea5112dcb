module zerotrust.lab/cyclonus

go 1.26.0

require github.com/mattfenwick/cyclonus v0.5.6
