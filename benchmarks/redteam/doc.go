// Package redteam attacks the egress gate (出域红队测试): askers who combine what they are given, and engines that hide bits beside their answers.
//
//	World (people, who is in which group, what each adds) ─ question → answer → gate (egress.Check, Book) → outgoing bytes → Attacker
//
// An attacker knows who is in every group it asks about, and no amount. It has every number that left, keeps each as an equation over people,
// and has won when some person's amount follows: it then computes it, and it must be the true one. That is the strongest reader of exact numbers;
// how far suppressed numbers can be bounded is package audit's to prove. Each attack has an honest twin, which asks the same way about groups that
// differ on enough people; what the gate releases of those is counted too.
//
// The covert sender (Covert) controls all of an answer that is not declared: orders, what stands where no value is, capacity, flags, forms of
// labels, evidence that does not leave. The reader decodes by whatever it learnt of the bytes. What is declared is counted in bits (Declared).
//
// Models (JudgeModels) are planted to give people away and put before the gate of class D, with honest ones beside them.
//
// Sources: Denning, Denning and Schwartz, The Tracker (1979); the attacks of the project's notes, row by row. Seeds are fixed by the caller.
package redteam
