// Package average holds the averages of one group that may leave (可出域分组均值): the one thing that a joint key encrypts. It is internal so that nothing
// outside mpc/he makes one: package released does, of what the gate passed.
package average

import "slices"

// Group (分组均值) is one group's average features.
type Group struct{ values []float64 }

// New keeps a copy of values.
func New(values []float64) Group { return Group{slices.Clone(values)} }

// Values gives a copy.
func (g Group) Values() []float64 { return slices.Clone(g.values) }

// String keeps averages out of logs.
func (g Group) String() string { return "averages(redacted)" }

// GoString keeps averages out of %#v.
func (g Group) GoString() string { return "averages(redacted)" }
