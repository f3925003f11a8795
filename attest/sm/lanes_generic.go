//go:build !amd64 || purego

package sm

// lanes is how many messages go through the rounds at once.
var lanes = 2

func (g *group) wide(*queue, int, int) { panic("sm: no lanes here") }
