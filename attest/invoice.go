package attest

import (
	"math"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

type usageTrail struct {
	UsageMeteredBody
	invoice sandbox.InvoiceID
}

func (c *checker) metered(b UsageMeteredBody) error {
	if c.usage[b.ID] != nil {
		return &broken{"usage", "metered once"}
	}
	c.usage[b.ID] = &usageTrail{UsageMeteredBody: b}
	_, ok := c.parties[b.Party]
	return all(c.want(b.Quantity > 0 && b.Product != "", "usage", "a positive quantity of a product"), c.shown(ok, "usage", "by an enrolled party"), c.scoringMetered(b))
}

// invoiced computes an invoice again from the usage it names: the difference is 0 fen or the invoice is rejected.
func (c *checker) invoiced(b InvoiceIssuedBody) error {
	const check = "invoice"
	if c.invoices[b.Invoice] {
		return &broken{check, "issued once"}
	}
	c.invoices[b.Invoice] = true
	var total int64
	for _, l := range b.Lines {
		var quantity int64
		whole := true
		for _, id := range l.Usage {
			u := c.usage[id]
			if u == nil {
				whole = false
				if err := c.shown(false, check, "every line adds up metered usage"); err != nil {
					return err
				}
				continue
			}
			if u.invoice != "" || u.Party != b.Party || u.Product != l.Product || month(u.UsageMeteredBody) != b.Month {
				return &broken{check, "usage of this party, product and month (Asia/Shanghai), billed once"}
			}
			u.invoice = b.Invoice
			if quantity > math.MaxInt64-u.Quantity {
				return &broken{check, "quantities within 64 bits"}
			}
			quantity += u.Quantity
		}
		if whole {
			if err := c.want(quantity == l.Quantity, check, "a line's quantity is the sum of its usage"); err != nil {
				return err
			}
		}
		if l.Quantity <= 0 || l.UnitPrice < 0 || l.UnitPrice > 0 && l.Quantity > math.MaxInt64/int64(l.UnitPrice) || int64(l.Amount) != l.Quantity*int64(l.UnitPrice) {
			return &broken{check, "a line's amount is its quantity times its price"}
		}
		if total > math.MaxInt64-int64(l.Amount) {
			return &broken{check, "a total within 64 bits"}
		}
		total += int64(l.Amount)
	}
	if err := c.want(total == int64(b.Total), check, "the total is the sum of its lines"); err != nil {
		return err
	}
	for _, u := range c.usage {
		if u.Party == b.Party && u.invoice == "" && month(u.UsageMeteredBody) == b.Month {
			return &broken{check, "all usage of its party and month metered before it"}
		}
	}
	return nil
}

func month(u UsageMeteredBody) string { return u.At.In(shanghai()).Format("2006-01") }

// shanghai is the billing zone: UTC+8, without daylight saving since 1991.
func shanghai() *time.Location { return time.FixedZone("Asia/Shanghai", 8*60*60) }
