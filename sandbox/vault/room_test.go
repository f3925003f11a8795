package vault

import "testing"

func TestReserve(t *testing.T) {
	const MiB = 1 << 20
	for size, want := range map[uint64]uint64{0: 0, 40 * MiB: 10 * MiB, 1024 * MiB: 256 * MiB, 20 << 30: 256 * MiB, 100 << 30: 1 << 30, 10 << 40: 2 << 30} {
		if got := Reserve(size); got != want {
			t.Errorf("of a disk of %d MiB %d MiB are kept, want %d", size/MiB, got/MiB, want/MiB)
		}
	}
}
