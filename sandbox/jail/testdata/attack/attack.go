//go:build linux

package main

import "fmt"

import "github.com/opdomain/opdomain/sandbox/jail/guest"

func attack(name string) result {
	switch name {
	case "dataset":
		b, err := guest.Dataset()
		return result{err == nil, fmt.Sprint(len(b), err)}
	}
	return result{false, "unknown"}
}
