package sm

import (
	"bytes"
	"crypto/hmac"
	"fmt"
	"strings"
	"testing"

	tj3 "github.com/tjfoc/gmsm/sm3"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"hash"
)

// widths are the ways this machine can compute: the plain one always.
func widths(t testing.TB) []int {
	switch lanes {
	case 2:
		t.Log("SKIPPED ALOUD: this processor has no lanes; only the plain twin is tested")
		return []int{2}
	case 8:
		t.Log("SKIPPED ALOUD: this processor has no AVX-512; sixteen lanes are not tested")
		return []int{2, 8}
	}
	return []int{2, 8, 16}
}

// TestMACRowsEqualHMAC: every block count, groups not full, offsets not from zero, every size, against one HMAC at a time.
func TestMACRowsEqualHMAC(t *testing.T) {
	ways := widths(t)
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 16, 130).Draw(rt, "key")
		m, err := NewMAC(key)
		if err != nil {
			rt.Fatal(err)
		}
		rows := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 11, 18, 54, 55, 56, 63, 64, 65, 118, 119, 120, 128, 200, 502, 503, 504, 700}), 0, 70).Draw(rt, "rows")
		size := rapid.SampledFrom([]int{1, 15, 16, 17, 32}).Draw(rt, "size")
		data := []byte("before")
		offsets := []int32{int32(len(data))}
		for i, n := range rows {
			for j := range n {
				data = append(data, byte(i*31+j*7+n))
			}
			offsets = append(offsets, int32(len(data)))
		}
		for _, width := range ways {
			dst := make([]byte, len(rows)*size)
			m.rows(dst, size, offsets, data, width)
			for i := range rows {
				want := HMAC(key, data[offsets[i]:offsets[i+1]])
				if !bytes.Equal(dst[i*size:(i+1)*size], want[:size]) {
					rt.Fatalf("%d lanes, row %d of %d bytes", width, i, rows[i])
				}
			}
		}
	})
}

// TestMACSecondOpinion: the other library's SM3 under the standard library's HMAC, all lengths over three blocks.
func TestMACSecondOpinion(t *testing.T) {
	key := []byte("sixteen byte key")
	m, err := NewMAC(key)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("abcdefg"), 30)
	for _, width := range widths(t) {
		for n := range 200 {
			out := make([]byte, Size)
			m.rows(out, Size, []int32{0, int32(n)}, text, width)
			h := hmac.New(func() hash.Hash { return tj3.New() }, key)
			h.Write(text[:n])
			if want := h.Sum(nil); !bytes.Equal(out, want) {
				t.Fatalf("%d lanes, %d bytes", width, n)
			}
		}
	}
}

// TestMACGivesWay to plain Go where lanes and library do not agree.
func TestMACGivesWay(t *testing.T) {
	m, err := NewMAC(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if m.width != lanes {
		t.Errorf("%d lanes, of %d this processor has", m.width, lanes)
	}
	for limit, want := range map[int]int{1: 2, 2: 2, 7: 2, 8: min(lanes, 8), 15: min(lanes, 8), 16: lanes, 99: lanes} {
		if got := m.AtMost(limit).Lanes(); got != want {
			t.Errorf("at most %d: %d lanes", limit, got)
		}
	}
	m.outer[0]++
	if got := m.agreed(lanes); got != 2 {
		t.Errorf("%d lanes with a wrong state", got)
	}
}

func TestMACRefuses(t *testing.T) {
	_, err := NewMAC(make([]byte, 15))
	is(t, err, sandbox.Invalid, "short key")
	m, err := NewMAC([]byte("a key of 17 bytes"))
	if err != nil {
		t.Fatal(err)
	}
	m.Rows(nil, 16, nil, nil)
	m.Rows(nil, 16, []int32{0}, nil)
	for _, c := range []struct{ dst, size int }{{15, 16}, {0, 0}, {33, 33}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was taken", c)
				}
			}()
			m.Rows(make([]byte, c.dst), c.size, []int32{0, 1}, []byte("x"))
		}()
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if text := fmt.Sprintf(verb+verb, m, *m); strings.Count(text, "redacted") != 2 {
			t.Errorf("%s shows the key", verb)
		}
	}
	key := []byte("a key of 17 bytes")
	m, _ = NewMAC(key)
	before, after := make([]byte, 700), make([]byte, 700)
	m.Rows(before[:32], 32, []int32{0, 600}, make([]byte, 600))
	clear(key)
	m.Rows(after[:32], 32, []int32{0, 600}, make([]byte, 600))
	if !bytes.Equal(before, after) {
		t.Error("the key is the caller's")
	}
}
