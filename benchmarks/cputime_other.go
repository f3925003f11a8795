//go:build !unix

package main

import "time"

// processorTime gives 0: wall time stands in where the system call is absent.
func processorTime() time.Duration { return 0 }

// peakMemory is not known here.
func peakMemory() int64 { return 0 }
