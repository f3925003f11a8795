package psi

import (
	"syscall"
	"testing"
	"fmt"
	"time"
)

func cpu() time.Duration { var u syscall.Rusage; _ = syscall.Getrusage(0, &u); return time.Duration(u.Utime.Nano()+u.Stime.Nano()) }

func TestProf(t *testing.T) {
	x, y := numbers(0, 10000), numbers(5000, 15000)
	for range 4 {
	for _, o := range []Output{Intersection, CardinalityBoth} {
		s := cpu()
		join(t, planFor(o, x, y), x, y, nil)
		fmt.Println(o, cpu()-s)
	}
	}
}
