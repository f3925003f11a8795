package node

import (
	"context"
	"slices"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/store"
)

// meter counts one admitted question, exactly once.
func (n *Node) meter(ctx context.Context, tx *change, p meter.Product, party sandbox.PartyID, sc sandbox.ScenarioID, q sandbox.QuestionID) error {
	e, err := meter.New(p, party, sc, q, tx.at)
	if err != nil {
		return err
	}
	return n.metered(ctx, tx, e)
}

// metered keeps a metered event, once.
func (n *Node) metered(ctx context.Context, tx *change, e meter.Event) error {
	fresh, err := n.docs.usage.Once(ctx, e.ID, string(e.Party), meter.Month(e.At), e)
	if err != nil || !fresh {
		return err
	}
	tx.record(attest.UsageMetered, "usage/"+e.ID, attest.UsageMeteredBody{ID: e.ID, Party: e.Party, Scenario: e.Scenario, Product: string(e.Product),
		Quantity: e.Quantity, Question: e.Question, At: e.At}, agency, toParty(e.Party), unitsOf(e.Scenario))
	return nil
}

// Usage lists the metered events of a month: a party's own, for the agency and auditors all, for a unit those of the
// scenarios its data stand in.
func (n *Node) Usage(ctx context.Context, c api.Caller, month string) ([]meter.Event, error) {
	if err := meter.CheckMonth(month); err != nil {
		return nil, err
	}
	rows, err := n.docs.usage.List(ctx, listState(month))
	if err != nil {
		return nil, err
	}
	mine, err := n.Scenarios(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []meter.Event{}
	for _, r := range rows {
		e := r.Value
		concerned := c.Party.Role == sandbox.Agency || c.Party.Role == sandbox.Auditor || e.Party == c.Party.ID
		for _, s := range mine {
			concerned = concerned || s.ID == e.Scenario && slices.Contains(s.Units(), c.Party.ID)
		}
		if concerned {
			out = append(out, e)
		}
	}
	return out, nil
}

// IssueInvoice bills what a party used in a month and no invoice holds yet. Events metered later go on a further invoice;
// a closed invoice never changes.
func (n *Node) IssueInvoice(ctx context.Context, c api.Caller, r api.InvoiceRequest) (bill.Invoice, error) {
	if err := meter.CheckMonth(r.Month); err != nil {
		return bill.Invoice{}, err
	}
	if _, _, err := n.docs.parties.Get(ctx, string(r.Party)); err != nil {
		return bill.Invoice{}, err
	}
	id, err := n.newID("i")
	if err != nil {
		return bill.Invoice{}, err
	}
	var inv bill.Invoice
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		rows, err := n.docs.usage.List(ctx, store.Filter{Owner: string(r.Party), State: r.Month})
		if err != nil {
			return err
		}
		earlier, err := n.docs.invoices.List(ctx, store.Filter{Owner: string(r.Party)})
		if err != nil {
			return err
		}
		billed := map[string]bool{}
		for _, e := range earlier {
			for _, l := range e.Value.Lines {
				for _, u := range l.Usage {
					billed[u] = true
				}
			}
		}
		var events []meter.Event
		for _, row := range rows {
			if !billed[row.Value.ID] {
				events = append(events, row.Value)
			}
		}
		if len(events) == 0 {
			return &sandbox.Error{Op: "bill", Kind: sandbox.Conflict, Object: string(r.Party), Detail: "nothing was used in " + r.Month + " that is not billed", Hint: "opdomain meter usage --month " + r.Month}
		}
		if inv, err = bill.Compute(sandbox.InvoiceID(id), r.Party, r.Month, events, n.profile.Prices); err != nil {
			return err
		}
		if err := n.docs.invoices.Insert(ctx, id, string(r.Party), r.Month, inv); err != nil {
			return err
		}
		body := attest.InvoiceIssuedBody{Invoice: inv.ID, Party: inv.Party, Month: inv.Month, PriceBook: inv.PriceBook, Total: inv.Total}
		for _, l := range inv.Lines {
			body.Lines = append(body.Lines, attest.InvoiceLine{Product: string(l.Product), Quantity: l.Quantity, UnitPrice: l.UnitPrice, Amount: l.Amount, Usage: l.Usage})
		}
		tx.record(attest.InvoiceIssued, "invoice/"+id, body, agency, toParty(inv.Party))
		return nil
	})
	return inv, err
}

// Invoices lists a party's own invoices; the agency and auditors see all.
func (n *Node) Invoices(ctx context.Context, c api.Caller) ([]bill.Invoice, error) {
	rows, err := n.docs.invoices.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := []bill.Invoice{}
	for _, r := range rows {
		if supervises(c.Party) || r.Value.Party == c.Party.ID {
			out = append(out, r.Value)
		}
	}
	return out, nil
}

// Invoice gives one of them.
func (n *Node) Invoice(ctx context.Context, c api.Caller, id sandbox.InvoiceID) (bill.Invoice, error) {
	inv, _, err := n.docs.invoices.Get(ctx, string(id))
	if err == nil && !supervises(c.Party) && inv.Party != c.Party.ID {
		err = &sandbox.Error{Op: "bill", Kind: sandbox.NotFound, Object: string(id)}
	}
	return inv, err
}

func supervises(p sandbox.Party) bool {
	return p.Role == sandbox.Agency || p.Role == sandbox.Auditor
}
