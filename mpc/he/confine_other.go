//go:build !linux

package he

import (
	"os/exec"

	"github.com/opdomain/opdomain/sandbox"
)

func apart(*exec.Cmd) {}

// Confine bounds this process, where the system can: here it cannot, and the engine does not start.
func Confine(uint64) error {
	return fail(sandbox.Unavailable, "engine", "its process can be bounded, which takes Linux")
}
