// Package bill computes invoices from metered usage and a district's price book, and splits what is paid between the
// parties (账单与收益分配). 依据: 福田区实施方案 六、七; 龙华区实施方案 八.
//
// Everything is exact: prices are integer fen per unit, an amount is quantity × price with overflow refused, a total is
// the sum of its lines. Shares are given in basis points of the total and rounded by largest remainder; ties go to the share
// named first in the price book, so the parts always add up to the total. Source units and the agency are compensated in
// services, not cash (技术服务反哺): their share is marked as a credit.
//
// Compute is a pure function: the same events and book give the same invoice, which is what lets a second program check
// it. It keeps nothing; that a usage event is billed once is the caller's, who passes only unbilled ones.
package bill

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/profile"
)

// Line (账单明细) is one product of an invoice with the usage it adds up.
type Line struct {
	Product   meter.Product `json:"product"`
	Title     string        `json:"title"`
	Unit      string        `json:"unit"`
	Quantity  int64         `json:"quantity"`
	UnitPrice sandbox.Fen   `json:"unit_price"`
	Amount    sandbox.Fen   `json:"amount"`
	Usage     []string      `json:"usage"` // ids of the metered events, sorted
}

// Share (收益分成) is one role's part of an invoice.
type Share struct {
	Role   sandbox.Role `json:"role"`
	Amount sandbox.Fen  `json:"amount"`
	Credit bool         `json:"credit"` // 服务抵扣: booked as a service credit, never payable in cash
}

// Invoice (账单) is what one party owes for one month.
type Invoice struct {
	ID        sandbox.InvoiceID `json:"id"`
	Party     sandbox.PartyID   `json:"party"`
	Month     string            `json:"month"` // 2006-01, Asia/Shanghai
	PriceBook string            `json:"price_book"`
	Lines     []Line            `json:"lines"`
	Total     sandbox.Fen       `json:"total"`
	Shares    []Share           `json:"shares"`
}

func bad(kind sandbox.Kind, object, rule string) error {
	return &sandbox.Error{Op: "bill", Kind: kind, Object: object, Detail: rule}
}

// Compute bills a party's events of one month. Events of another party or month, an event given twice, a product without
// a price and an amount beyond 64 bits are errors; no events give an invoice of zero.
func Compute(id sandbox.InvoiceID, party sandbox.PartyID, month string, events []meter.Event, book profile.PriceBook) (Invoice, error) {
	if err := meter.CheckMonth(month); err != nil {
		return Invoice{}, err
	}
	inv := Invoice{ID: id, Party: party, Month: month, PriceBook: book.Version, Lines: []Line{}}
	at := map[meter.Product]int{}
	seen := map[string]bool{}
	for _, e := range events {
		if err := e.Validate(); err != nil {
			return Invoice{}, err
		}
		if e.Party != party || meter.Month(e.At) != month || seen[e.ID] {
			return Invoice{}, bad(sandbox.Invalid, e.ID, "an event of this party and month, given once")
		}
		seen[e.ID] = true
		i, ok := at[e.Product]
		if !ok {
			price, ok := book.Price(string(e.Product))
			if !ok || price.Price < 0 {
				return Invoice{}, bad(sandbox.Unavailable, string(e.Product), "the price book has no price for it")
			}
			i = len(inv.Lines)
			at[e.Product] = i
			inv.Lines = append(inv.Lines, Line{Product: e.Product, Title: price.Title, Unit: price.Unit, UnitPrice: price.Price})
		}
		l := &inv.Lines[i]
		var over bool
		if l.Quantity, over = add(l.Quantity, e.Quantity); over {
			return Invoice{}, bad(sandbox.TooLarge, string(e.Product), "a quantity within 64 bits")
		}
		l.Usage = append(l.Usage, e.ID)
	}
	slices.SortFunc(inv.Lines, func(a, b Line) int { return cmp.Compare(a.Product, b.Product) })
	for i := range inv.Lines {
		l := &inv.Lines[i]
		slices.Sort(l.Usage)
		hi, lo := bits.Mul64(uint64(l.Quantity), uint64(l.UnitPrice))
		if hi != 0 || lo > 1<<63-1 {
			return Invoice{}, bad(sandbox.TooLarge, string(l.Product), "an amount within 64 bits")
		}
		l.Amount = sandbox.Fen(lo)
		total, over := add(int64(inv.Total), int64(l.Amount))
		if over {
			return Invoice{}, bad(sandbox.TooLarge, string(id), "a total within 64 bits")
		}
		inv.Total = sandbox.Fen(total)
	}
	shares, err := split(inv.Total, book.Shares)
	if err != nil {
		return Invoice{}, err
	}
	inv.Shares = shares
	return inv, nil
}

// add adds two amounts that are not negative and says whether the sum passes 64 bits.
func add(a, b int64) (int64, bool) { return a + b, a+b < a }

// basis is the whole in basis points.
const basis = 10_000

// split divides a total by basis points: each share rounded down, the fen that remain given one each to the largest
// remainders, ties to the share named first.
func split(total sandbox.Fen, parts []profile.Share) ([]Share, error) {
	sum := int64(0)
	for _, p := range parts {
		if p.Basis < 0 || p.Basis > basis {
			return nil, bad(sandbox.Invalid, "shares", "each of 0 to 10000 basis points")
		}
		sum += p.Basis
	}
	if sum != basis {
		return nil, bad(sandbox.Invalid, "shares", "together 10000 basis points")
	}
	type remainder struct {
		at   int
		rest uint64
	}
	out := make([]Share, len(parts))
	rests := make([]remainder, len(parts))
	left := int64(total)
	for i, p := range parts {
		hi, lo := bits.Mul64(uint64(total), uint64(p.Basis))
		q, r := bits.Div64(hi, lo, basis) // total < 2^63 and basis ≤ 10^4, so the quotient fits
		out[i] = Share{Role: p.Role, Amount: sandbox.Fen(q), Credit: p.Credit}
		rests[i] = remainder{i, r}
		left -= int64(q)
	}
	slices.SortStableFunc(rests, func(a, b remainder) int { return cmp.Compare(b.rest, a.rest) })
	for _, r := range rests[:left] {
		out[r.at].Amount++
	}
	return out, nil
}
