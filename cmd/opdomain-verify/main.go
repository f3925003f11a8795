// Command opdomain-verify (离线核验) checks evidence of a domain offline: bundles, proofs of one entry, proofs of growth. See
// package attest/offline. Exit statuses: 0 accepted, 1 rejected, 2 wrong usage or a file that cannot be read.
package main

import (
	"os"

	"github.com/opdomain/opdomain/attest/offline"
)

func main() { os.Exit(offline.Main(os.Args[1:], os.Stdout, os.Stderr)) }
