package wire_test

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
)

func memory(_ *testing.T, n int) []wire.Transport {
	var out []wire.Transport
	for _, m := range wire.NewMemory(n) {
		out = append(out, m)
	}
	return out
}

func overTCP(t *testing.T, n int) []wire.Transport {
	var ts []*wire.TCP
	var addrs []string
	var out []wire.Transport
	for range n {
		c, err := wire.ListenTCP("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		ts, addrs, out = append(ts, c), append(addrs, c.Addr()), append(out, c)
	}
	for _, c := range ts {
		c.Reach(addrs)
	}
	return out
}

func TestTransports(t *testing.T) {
	t.Run("memory", func(t *testing.T) { wiretest.Suite(t, memory) })
	t.Run("TCP", func(t *testing.T) { wiretest.Suite(t, overTCP) })
}
