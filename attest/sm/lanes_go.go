//go:build !(goexperiment.simd && amd64)

package sm

// wide says whether sixteen lanes can be used: not in this build.
func wide() bool { return false }

func (g *group) wide(*queue, int) { panic("sm: this build has no lanes") }
