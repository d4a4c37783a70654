// Only to build critest and crictl from Go's module proxy; nothing of the project is in Go.
module tare.invalid/critest

go 1.26.2

require sigs.k8s.io/cri-tools v1.36.0
