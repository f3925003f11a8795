package vault

import (
	"errors"
	"fmt"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
)

// errNoRoom says that what is left of the disk is the domain's reserve.
var errNoRoom = errors.New("what is left of the disk is kept")

// Reserve gives the bytes of a disk of size bytes that rows are never written into (磁盘预留): nonces, decisions and evidence
// need them, so that a unit's push can end neither reading nor revoking. It is 1 % of the disk, but at least 256 MiB and at
// most 2 GiB, and never more than a quarter of a small disk.
func Reserve(size uint64) uint64 {
	return min(max(size/100, 256<<20), 2<<30, size/4)
}

// Room says whether rows may be written: an error that is Full when only the reserve is left.
func (v *Vault) Room() error { return v.room("folder", 0) }

// room is asked before every sealed file and before each of its writes. Columns are sealed side by side, so the reserve may
// be short of a few writes of 256 KiB.
func (v *Vault) room(object string, n int) error {
	if v.space == nil {
		return nil
	}
	free, size, err := v.space(v.dir)
	if err != nil {
		return unavailable("write", object, err)
	}
	keep := Reserve(size)
	if free >= keep+uint64(n) {
		return nil
	}
	return &sandbox.Error{Op: "vault: write", Kind: sandbox.TooLarge, Object: object, Err: errNoRoom,
		Detail: fmt.Sprintf("the disk has less than %d MiB left, which the domain keeps for its own records: no more rows are taken", (keep+1<<20-1)>>20),
		Hint:   "make room on the domain's disk, then start anew"}
}

// Full says whether err is for want of space: on the disk, or beside its reserve.
func Full(err error) bool { return errors.Is(err, errNoRoom) || durable.Full(err) }
