package bill

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/profile"
)

var at = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func book(question, claim sandbox.Fen) profile.PriceBook {
	return profile.PriceBook{Version: "book/1",
		Prices: []profile.Price{{Product: "claim-query", Title: "单人查询", Unit: "次", Price: claim}, {Product: "aggregate-question", Title: "统计查询", Unit: "次", Price: question}},
		Shares: []profile.Share{{Role: sandbox.Unit, Basis: 3333, Credit: true}, {Role: sandbox.Agency, Basis: 3333, Credit: true}, {Role: sandbox.Operator, Basis: 3334}}}
}

func event(n int, p meter.Product, quantity int64) meter.Event {
	return meter.Event{ID: fmt.Sprintf("u-%04d", n), Party: "insurer", Scenario: "sc-1", Product: p, Quantity: quantity, Question: sandbox.QuestionID(fmt.Sprintf("q-%04d", n)), At: at}
}

func TestInvoice(t *testing.T) {
	events := []meter.Event{event(3, meter.ClaimQuery, 1), event(1, meter.AggregateQuestion, 1), event(2, meter.ClaimQuery, 1)}
	got, err := Compute("inv-1", "insurer", "2026-03", events, book(50_000, 301))
	if err != nil {
		t.Fatal(err)
	}
	want := Invoice{ID: "inv-1", Party: "insurer", Month: "2026-03", PriceBook: "book/1", Total: 50_602,
		Lines: []Line{
			{Product: "aggregate-question", Title: "统计查询", Unit: "次", Quantity: 1, UnitPrice: 50_000, Amount: 50_000, Usage: []string{"u-0001"}},
			{Product: "claim-query", Title: "单人查询", Unit: "次", Quantity: 2, UnitPrice: 301, Amount: 602, Usage: []string{"u-0002", "u-0003"}}},
		// 16865.6466 twice and 16870.7068: down to 16865, 16865, 16870; the two fen left go to the remainders .7068 and, first named, .6466.
		Shares: []Share{{sandbox.Unit, 16_866, true}, {sandbox.Agency, 16_865, true}, {sandbox.Operator, 16_871, false}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	none, err := Compute("inv-2", "insurer", "2026-03", nil, book(1, 1))
	if err != nil || none.Total != 0 || none.Lines == nil || len(none.Lines) != 0 || len(none.Shares) != 3 {
		t.Errorf("no usage: %+v, %v", none, err)
	}
}

// Each line of testdata/shares.json is a total, the parts in basis points and who gets how many fen.
func TestSharesByExample(t *testing.T) {
	b, err := os.ReadFile("testdata/shares.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Case  string
		Total sandbox.Fen
		Basis []int64
		Want  []sandbox.Fen
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		var parts []profile.Share
		for _, n := range c.Basis {
			parts = append(parts, profile.Share{Role: sandbox.Unit, Basis: n})
		}
		shares, err := split(c.Total, parts)
		var got []sandbox.Fen
		for _, s := range shares {
			got = append(got, s.Amount)
		}
		if err != nil || !slices.Equal(got, c.Want) {
			t.Errorf("%s: %v, %v", c.Case, got, err)
		}
	}
}

// Shares add up to the total, each within one fen of its exact part, none negative.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(0, math.MaxInt64).Draw(t, "total")
		cuts := append(rapid.SliceOfN(rapid.Int64Range(0, basis), 0, 8).Draw(t, "cuts"), 0, basis)
		slices.Sort(cuts)
		var parts []profile.Share
		for i := range len(cuts) - 1 {
			parts = append(parts, profile.Share{Role: sandbox.Unit, Basis: cuts[i+1] - cuts[i], Credit: i%2 == 0})
		}
		got, err := split(sandbox.Fen(total), parts)
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for i, s := range got {
			sum += int64(s.Amount)
			exact := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(total), big.NewInt(parts[i].Basis)), big.NewInt(basis))
			off := exact.Sub(exact, new(big.Rat).SetInt64(int64(s.Amount)))
			if off.Abs(off).Cmp(big.NewRat(1, 1)) >= 0 || s.Amount < 0 || s.Credit != parts[i].Credit {
				t.Fatalf("share %d is %d of %d", i, s.Amount, total)
			}
		}
		if sum != total {
			t.Fatalf("shares add up to %d, not %d", sum, total)
		}
	})
}

// An invoice does not depend on the order of events and equals its recomputation in integers of any size; the total is
// the sum of its lines and of its shares.
func TestInvoiceIsItsRecomputation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prices := book(sandbox.Fen(rapid.Int64Range(0, 1<<40).Draw(t, "price")), sandbox.Fen(rapid.Int64Range(0, 1<<20).Draw(t, "price")))
		var events []meter.Event
		want := new(big.Int)
		for i := range rapid.IntRange(0, 12).Draw(t, "events") {
			e := event(i, rapid.SampledFrom([]meter.Product{meter.AggregateQuestion, meter.ClaimQuery}).Draw(t, "product"), rapid.Int64Range(1, 1000).Draw(t, "quantity"))
			events = append(events, e)
			price, _ := prices.Price(string(e.Product))
			want.Add(want, new(big.Int).Mul(big.NewInt(e.Quantity), big.NewInt(int64(price.Price))))
		}
		got, err := Compute("inv-1", "insurer", "2026-03", events, prices)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Compute("inv-1", "insurer", "2026-03", rapid.Permutation(events).Draw(t, "order"), prices)
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Fatal("the order of events decides")
		}
		lines, shares, usage := int64(0), int64(0), 0
		for _, l := range got.Lines {
			lines += int64(l.Amount)
			usage += len(l.Usage)
		}
		for _, s := range got.Shares {
			shares += int64(s.Amount)
		}
		if want.Cmp(big.NewInt(int64(got.Total))) != 0 || lines != int64(got.Total) || shares != int64(got.Total) || usage != len(events) {
			t.Fatalf("total %d, want %s; lines %d, shares %d, %d of %d events", got.Total, want, lines, shares, usage, len(events))
		}
	})
}

func TestComputeRefuses(t *testing.T) {
	one := event(1, meter.ClaimQuery, 1)
	with := func(change func(*meter.Event)) []meter.Event {
		e := one
		change(&e)
		return []meter.Event{e}
	}
	short, over := book(1, 1), book(1, 1)
	short.Shares, over.Shares = short.Shares[1:], append(over.Shares, profile.Share{Role: sandbox.Partner, Basis: 1})
	negative := book(1, 1)
	negative.Shares = []profile.Share{{Role: sandbox.Unit, Basis: -1}, {Role: sandbox.Agency, Basis: 5000}, {Role: sandbox.Operator, Basis: 5001}}
	for name, c := range map[string]struct {
		month  string
		events []meter.Event
		book   profile.PriceBook
		kind   sandbox.Kind
	}{
		"a month that is none":      {"2026-3", nil, book(1, 1), sandbox.Invalid},
		"another party's event":     {"2026-03", with(func(e *meter.Event) { e.Party = "operator" }), book(1, 1), sandbox.Invalid},
		"another month's event":     {"2026-04", []meter.Event{one}, book(1, 1), sandbox.Invalid},
		"next month in Shanghai":    {"2026-03", with(func(e *meter.Event) { e.At = time.Date(2026, 3, 31, 16, 0, 0, 0, time.UTC) }), book(1, 1), sandbox.Invalid},
		"an event twice":            {"2026-03", []meter.Event{one, one}, book(1, 1), sandbox.Invalid},
		"a quantity of none":        {"2026-03", with(func(e *meter.Event) { e.Quantity = 0 }), book(1, 1), sandbox.Invalid},
		"no price":                  {"2026-03", []meter.Event{one}, profile.PriceBook{Shares: book(1, 1).Shares}, sandbox.Unavailable},
		"a negative price":          {"2026-03", []meter.Event{one}, book(1, -1), sandbox.Unavailable},
		"a quantity beyond 64 bits": {"2026-03", []meter.Event{event(1, meter.ClaimQuery, math.MaxInt64), event(2, meter.ClaimQuery, 1)}, book(1, 0), sandbox.TooLarge},
		"an amount beyond 64 bits":  {"2026-03", with(func(e *meter.Event) { e.Quantity = 1 << 32 }), book(1, 1<<31), sandbox.TooLarge},
		"an amount beyond 128 bits": {"2026-03", with(func(e *meter.Event) { e.Quantity = math.MaxInt64 }), book(1, math.MaxInt64), sandbox.TooLarge},
		"a total beyond 64 bits":    {"2026-03", []meter.Event{event(1, meter.ClaimQuery, 1), event(2, meter.AggregateQuestion, 1)}, book(1, math.MaxInt64), sandbox.TooLarge},
		"shares of less":            {"2026-03", []meter.Event{one}, short, sandbox.Invalid},
		"shares of more":            {"2026-03", []meter.Event{one}, over, sandbox.Invalid},
		"a negative share":          {"2026-03", []meter.Event{one}, negative, sandbox.Invalid},
		"no shares":                 {"2026-03", []meter.Event{one}, profile.PriceBook{Prices: book(1, 1).Prices}, sandbox.Invalid},
	} {
		if _, err := Compute("inv-1", "insurer", c.month, c.events, c.book); sandbox.KindOf(err) != c.kind || err == nil {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
	}
	if _, err := Compute("inv-1", "insurer", "2026-03", []meter.Event{event(1, meter.ClaimQuery, math.MaxInt64)}, book(1, 1)); err != nil {
		t.Errorf("the largest amount: %v", err)
	}
}

// Every district's own price book bills every product and splits it.
func TestDistrictPriceBooks(t *testing.T) {
	for _, name := range profile.Names() {
		p, err := profile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		inv, err := Compute("inv-1", "insurer", "2026-03", []meter.Event{event(1, meter.ClaimQuery, 7), event(2, meter.AggregateQuestion, 3)}, p.Prices)
		if err != nil || inv.Total <= 0 {
			t.Errorf("%s: %v, %v", name, inv.Total, err)
		}
		for _, s := range inv.Shares {
			if (s.Role == sandbox.Unit || s.Role == sandbox.Agency) && !s.Credit {
				t.Errorf("%s: the %s is paid in cash", name, s.Role)
			}
		}
	}
}

func TestIssuedInvoiceErrorsNameTheEvent(t *testing.T) {
	_, err := Compute("inv-1", "insurer", "2026-04", []meter.Event{event(7, meter.ClaimQuery, 1)}, book(1, 1))
	var e *sandbox.Error
	if !errors.As(err, &e) || e.Object != "u-0007" {
		t.Errorf("%v", err)
	}
}
