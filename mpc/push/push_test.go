package push

import (
	"bytes"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
)

// FuzzPush: of all bytes only those that the unit wrote for a party are taken by it, and its parts add up.
func FuzzPush(f *testing.F) {
	rand, err := sm.NewKeystream([]byte("a key for a test")) // the same in each process of a search
	if err != nil {
		f.Fatal(err)
	}
	unit, err := sm.NewSigningKey(rand)
	if err != nil {
		f.Fatal(err)
	}
	var keys [3]*sm.DecryptKey
	cols := [][]uint64{{1, 2, 3, 1 << 63}, {0, 0, 7, 9}}
	split, err := New(cols, rand)
	if err != nil {
		f.Fatal(err)
	}
	want := Body{Plan: "00", Dataset: "d", Rows: 4, Columns: 2}
	s, err := split.Sign(rand, unit, "u", want)
	if err != nil {
		f.Fatal(err)
	}
	var wrote [3][]byte
	var got [3][][2][]uint64
	for i := range keys {
		if keys[i], err = sm.NewDecryptKey(rand); err != nil {
			f.Fatal(err)
		}
		if wrote[i], err = split.For(s, i, keys[i].Public(), rand); err != nil {
			f.Fatal(err)
		}
		f.Add(wrote[i], i)
		if got[i], _, err = read(bytes.NewReader(wrote[i]), "f", want, unit.Public(), i, keys[i], true); err != nil {
			f.Fatal(err)
		}
	}
	for c, col := range cols {
		for row, v := range col {
			if got[0][c][0][row]+got[1][c][0][row]+got[2][c][0][row] != v || got[0][c][1][row] != got[1][c][0][row] || got[2][c][1][row] != got[0][c][0][row] {
				f.Fatal("the parts are the values")
			}
		}
	}
	f.Add([]byte("{}\n\x00\x00\x00\x10"), 0)
	f.Fuzz(func(t *testing.T, b []byte, party int) {
		if party < 0 || party > 2 {
			return
		}
		if _, err := Check(bytes.NewReader(b), "f", want, unit.Public(), party, keys[party]); err == nil && !bytes.Equal(b, wrote[party]) {
			t.Error("taken")
		}
	})
}
