// Package agent is a party's program (参与方代理): what a unit, a bank or a custodian runs to take part in computations over shares. It holds
// the party's key folder, reads the party's own table, looks for its owner's approval, runs one plan with the two others, and writes the
// outputs and the certificate.
//
//	key      make a key folder, for a party or an owner; prints the public point
//	plan     check a draft of a plan and its question, write both in their one encoding, print the digest that owners sign
//	approve  say in words what a plan and its question come to, then sign the plan for a party, as its owner
//	run      take part, once, in a plan the owner signed for
//	verify   check a certificate offline
//	explain  say whether a question of the columnar engine runs over shares, what its plan says and what parties learn, or why not
//	card     sign a party's sealing key, for units that push shares to it
//	doctor   look at the machine, the keys, the jobs joined and a ledger, and say what does not hold
//	push     as a unit that is no party: split the rows that a question needs into shares, seal to each party what is its own
//
// Files: plan and question are JSON; a table is CSV with the columns group, subject, amount: a label of the question, any identifier of a
// person, a whole number in the smallest unit. Identifiers become pseudonyms by HMAC-SM3 under the owners' key for the job (a file of 64 hex
// digits that the owners exchange; the third party has none) before anything else. Errors name file, line and rule, never a field.
//
// A question with a left and a right table is a join (package join): its tables have group, subject and the measures of their side, and
// pseudonyms are under a key of the plan, of the identifier's one form by the question's kind (join.Normal). Where the question names datasets and
// versions, the owner says of its file which it is (--table DATASET@VERSION=FILE, --source alike), and another is refused before the file is opened; a
// vault folder says it itself. That the file is what its owner says, nobody else can see. An owner of a join's table keeps a ledger (a folder and a key of its own, without which run does
// not join): it lets so many jobs with one counterpart pass in thirty days, and none whose people, or what they have in the table, are nearly
// those of an earlier one. Exactly an earlier table passes.
//
// An inquiry (agg.Inquiry: the question, descriptions, owners' rules, setting) takes a source for each dataset that a party holds: a CSV file with
// the described columns, or the folder of a sealed vault, its own or a domain's, under its folder of keys; nobody else has the folder open
// meanwhile. Only the columns that the question needs are opened, and the one that identifies people, whose values, in the one form of their
// dataset's kind, become pseudonyms of 16 bytes under a key of the plan. Its owner keeps a ledger as one of a join does: of the rows that pass
// the question's filters, their people, and apart by column what these have in it, are exactly those of an earlier job or differ in enough people.
//
// A unit that is no party pushes (推送份额, package mpc/push): it splits its rows for one plan, signs the split, and seals to each party the parts that are its own; no
// party ever has a row, and two together have all. The question names the unit's key, so that owners approve whose rows they are; a
// party refuses a push for another plan, of another key or with a part that is not as signed, and all three compare their copies before
// anything is computed. A push is of one plan, and a plan is joined once. The unit keeps a ledger as an owner of an inquiry's rows does, since
// nobody else ever sees them: rows whose people, or what these have in a column, differ from an earlier push's in a few are not pushed. As an
// owner of a table it is trusted to keep that ledger: one that begins a new one compares with nothing.
//
// Two parties alone run set intersection (psi) and single lookups (lookup) under an agreement of their own, package mpc/psi/session: plan prints what
// each side learns, and approve wants the digest that stands under it. run takes the own set from a column of a CSV or of a vault folder; the
// ledger is always asked, for quota and near-repeats, and members, result, certificate and the job's secret go to new files of mode 0600. list, secret and
// certify are for sets on an agency's signed list, audit is for the others, afterwards.
// Sums by group go to a file that opdomain egress check takes (run --gate): whose elements are in the intersection nobody sees, so that its two
// largest amounts are said to be those of the sender's whole group, which the gate's rules on dominance can only be stricter for.
//
// As services of a machine all three run by the units of deploy/systemd, whose passphrase and ledger's key are credentials.
//
// Outputs are the parties', or one's where the plan names a recipient: what leaves to anybody else goes through the domain's gate and reviewers. Exit statuses: 0 done, 1 failed or
// aborted, 2 wrong usage, 3 refused before a link was made.
package agent
