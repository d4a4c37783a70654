//go:build tools

package critest

import _ "sigs.k8s.io/cri-tools/cmd/crictl"
