package redteam

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

func TestNoAttackThatCombinesNumbersSucceeds(t *testing.T) {
	t.Parallel()
	all, err := Linear(1, 25, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		t.Logf("%+v", o)
		if o.Successes != 0 || o.Tries == 0 {
			t.Errorf("%s: %d of %d", o.Attack, o.Successes, o.Tries)
		}
		if o.Attack != "tables at random" && o.Released*10 < o.Twins*9 { // which leave small cells without meaning to
			t.Errorf("%s: of %d honest questions %d were released", o.Attack, o.Twins, o.Released)
		}
	}
}

// TestAttacksWinWithoutAGate: what fails at the gate is an attack.
func TestAttacksWinWithoutAGate(t *testing.T) {
	t.Parallel()
	all, err := Linear(1, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Successes != o.Tries {
			t.Errorf("%s: %d of %d", o.Attack, o.Successes, o.Tries)
		}
	}
}

func TestNoChannelChangesWhatLeaves(t *testing.T) {
	t.Parallel()
	all, err := Channels(3, 40, ThroughGate)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		t.Logf("%+v", o)
		if o.Successes != 0 || o.Tries == 0 || o.Released != o.Twins || o.Withheld != 0 {
			t.Errorf("%s: %d of %d", o.Attack, o.Successes, o.Tries)
		}
	}
	if all, err = Channels(3, 10, asIs); err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Successes*2 < o.Tries {
			t.Errorf("%s writes nothing: %d of %d", o.Attack, o.Successes, o.Tries)
		}
	}
}

// TestCovertSenderSaysNothing: over 50 messages of 1000 bits the reader is wrong about half the time, within 3.3 standard deviations; and
// never where an answer leaves as it is.
func TestCovertSenderSaysNothing(t *testing.T) {
	t.Parallel()
	const messages, length = 50, 1000
	mixed := 0
	for m := range uint64(messages) {
		if b, err := ThroughGate(declared(NewWorld(7+m, covertPeople))); err == nil && bytes.Contains(b, []byte(`"suppressed":true`)) && bytes.Contains(b, []byte(`"none"`)) {
			mixed++
		}
	}
	if mixed < messages/2 {
		t.Errorf("of %d answers %d are suppressed in part", messages, mixed)
	}
	wrong, err := Covert(7, messages, length, ThroughGate)
	if err != nil {
		t.Fatal(err)
	}
	rate := float64(wrong) / (messages * length)
	t.Logf("bit error %.4f", rate)
	if rate < 0.5-0.0074 || rate > 0.5+0.0074 {
		t.Errorf("bit error %.4f", rate)
	}
	if wrong, err = Covert(7, 2, length, asIs); err != nil || wrong > 0 {
		t.Errorf("without a gate %d bits are read wrong: %v", wrong, err)
	}
}

func TestNothingUnreviewedLeaves(t *testing.T) {
	t.Parallel()
	all, err := Process(5, 6, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		t.Logf("%+v", o)
		if o.Successes != 0 || o.Tries == 0 || o.Released != o.Twins || o.Twins == 0 {
			t.Errorf("%s: %d of %d, %d of %d honest ones", o.Attack, o.Successes, o.Tries, o.Released, o.Twins)
		}
	}
}

// TestDeclaredBitsAreCapped: what values may tell is counted, and a cap a bit below it refuses.
func TestDeclaredBitsAreCapped(t *testing.T) {
	t.Parallel()
	c, err := checked(NewWorld(1, people), "q-1")
	if err != nil {
		t.Fatal(err)
	}
	r, err := egress.DecodeResult(c.Result)
	if err != nil {
		t.Fatal(err)
	}
	d := Declared(r, people, 3, 10_000)
	n, ok := d.Bits()
	want := 2*(scan.Log2(2)+scan.Log2(people+1)+scan.Log2(3*people+1)+scan.Log2(10_000*people+1)) + scan.Log2(3)
	if !ok || n != want || n < 80_000 || n > 90_000 {
		t.Errorf("%d milli-bits, want %d", n, want)
	}
	for less, refused := range map[scan.MilliBits]bool{0: false, 1: true} {
		caps := scan.Standard()
		caps.Bits = n - less
		if got := caps.Check([]scan.File{{Name: "r.json", Bytes: int64(len(c.Result)), Rows: len(r.Rows)}}, &d); (len(got) > 0) != refused {
			t.Errorf("a cap %d below: %v", less, got)
		}
	}
}

// Every planted model is caught, and no honest one fails.
func TestModels(t *testing.T) {
	all, err := JudgeModels(1, 2, 16)
	if err != nil {
		t.Fatal(err)
	}
	leaks := 0
	for _, o := range all {
		if o.Leak {
			leaks++
		}
		if o.Leak && o.Failed+o.Replaced != o.Tries || !o.Leak && o.Failed > 0 || o.Tries == 0 {
			t.Errorf("%s: %d passed, %d for review, %d failed", o.Name, o.Passed, o.Review, o.Failed)
		}
	}
	if leaks < 5 || len(all)-leaks < 8 {
		t.Errorf("%d planted models of %d", leaks, len(all))
	}
}
