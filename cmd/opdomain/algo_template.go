package main

// What opdomain algo new writes. NAME and AUTHOR are filled in.
const (
	moduleTemplate = `module example.com/NAME

go 1.26

require github.com/opdomain/opdomain v0.0.0
`
	draftTemplate = `{
  "name": "NAME",
  "version": "0.1.0",
  "title": "每区人数与费用",
  "author": "AUTHOR",
  "contract": "program",
  "limits": {"memory_mib": 128, "seconds": 30}
}
`
	programTemplate = `// Command NAME is a Program (程序): it says what to compute over handles to columns. The domain records it once, before any key opens, and
// computes it itself; nothing here ever sees a value. go doc github.com/opdomain/opdomain/sandbox/algo
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("NAME", program) }

func program(p *algo.Program) {
	claims := p.Input("claims", algo.Text("district"), algo.Text("kind"), algo.Money("amount"))
	amount := claims.Number("amount")
	inpatient := claims.Label("kind", "").In("inpatient")

	g := claims.Group(algo.By("district", claims.Label("district", "")))
	p.Reveal("cost", g,
		algo.Out("people", g.Subjects()),
		algo.Out("claims", g.Count()),
		algo.Out("mean", g.Mean(amount)),
		algo.Out("inpatient share", g.SumIf(inpatient, amount).Div(g.Sum(amount))))
}
`
	readmeTemplate = "# NAME\n\n" +
		"A Program for an opdomain domain. What it needs stands in `main.go`, who writes it in `algorithm.json`.\n\n" +
		"```\nopdomain algo build .          # wasm, reproducible; writes build/manifest.json\n" +
		"opdomain algo check .          # what it would ask\nopdomain algo run --local .    # on made rows, through the gate's rules\n" +
		"opdomain algo sign --as ID .   # as its author\n```\n\n" +
		"本程序以句柄描述计算，由授权运营域在开启密钥之前录制成完整计算图，再由域内引擎执行；代码看不到任何数值。\n"
)
