//go:build wasip1

package mapper

import "unsafe"

// input and output stay reachable while the host writes and reads them.
var input, output []byte

//go:wasmexport opdomain_alloc
func alloc(size uint32) uint32 {
	input = make([]byte, size)
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(input))))
}

//go:wasmexport opdomain_map
func mapOne(_, size uint32) uint64 {
	if handler.f == nil || int(size) != len(input) {
		panic("no handler")
	}
	b, err := run(handler.f, input, handler.shape)
	if err != nil {
		panic("not a subject of the declared columns")
	}
	return kept(b)
}

//go:wasmexport opdomain_declare
func declare() uint64 {
	if handler.f == nil {
		panic("no handler")
	}
	return kept(handler.declaration.Encode())
}

// kept gives place and size of an output.
func kept(b []byte) uint64 {
	if output = b; len(b) == 0 {
		return 0
	}
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | uint64(len(b))
}
