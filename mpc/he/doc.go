// Package he is homomorphic encryption for the domain (同态加密): totals over several source units that nobody but the gate reads, and
// scoring of an asker's own encrypted features. It is the only importer of the lattice library tuneinsight/lattigo v5.0.7, none of whose
// types shows. 依据: 原始数据不出域, 可用不可见.
//
// # Sums
//
// The units and the gate hold one collective BGV key (Mouchet et al., eprint 2020/304). Each unit encrypts one vector: for public group
// keys the totals of each measure, and in slots of its own the evidence the gate needs (distinct subjects, largest contribution). Anybody
// may add the vectors. An opener adds them up itself before it gives its one decryption share, and refuses a sum in which its own
// ciphertexts are not there exactly once or another's twice. The gate's part of the key is in every ciphertext and is not dealt, so nothing
// opens without it; the units' parts are shared so that a threshold of them, fixed before encryption, stands for all (eprint 2022/780).
// Plan.Check is the linter: worst-case noise bounds, flooding, security caps, before a key is drawn.
//
// Supported: count, sum, mean, variance, stddev, histogram, covariance, correlation, ratio, dot over rows that each unit holds whole. Totals are
// exact; the last step of a mean or its kin is taken at the gate, rounded as the columnar engine rounds. Instead says what stops here and
// what would do. Package spec compiles questions to layouts.
//
// # Products
//
// Layout.Products are inner products of columns that two units hold of the same people, in the order of an agreed list: correlations, counts
// and totals of joined rows. One multiplication of ciphertexts, in a set of its own; its relinearisation key is made by all parties, in
// one step more (Relinearize), flooded with noise of our own because the key's noise mixes one's secret with errors that others know. A
// product stands in one coefficient of a ciphertext; each unit masks all others. All that a product is of is in the contributions, so that each opener
// and the gate compute it anew; the library's base conversion uses float64, so parties on machines of different kinds may disagree, and
// abort. What a holder states of its factors (people, how many of them with the same, largest value) bounds what may open. A holder's
// ciphertexts have a value for each person: where fewer than all units open, so many of them with the gate could open those. The list tells both units, and whoever made it, who stands
// on it; others have its digest, which a secret of the list hides (package unit).
//
// Security model: units follow the protocol, and any of them, with the carrier, may pool what they see, up to one less than the threshold
// together with the gate. Beyond that, each message is signed for its plan, keys are committed to before they are shown, and four slots of
// each ciphertext hold a one of every unit: dropped, late, repeated, replayed, mixed or wrong messages are an Abort with evidence. A unit
// that lies about its own rows, or shifts its share by an encoding that leaves those four slots alone, changes the result, and what others state in it, unseen. A value of 2^47 or more
// ends its unit's part, and that shows.
//
// # Scoring
//
// An asker encrypts its own customers' features under its own key, the domain's approved Model runs on them, only the asker decrypts; every
// result states the bound of its error. Score takes up to 8,192 customers (CKKS, sigmoid as a polynomial of degree 15 on [-8, 8]); ScoreOne
// one customer, who takes the sigmoid after decryption. Answers are rerandomised and flooded. ScoreOne hides the model, up to what scores
// say, also from an asker that sends made-up keys and ciphertexts: at most 47 bits of it leave with an answer. Score hides it from askers
// that follow the protocol, to some 20 bits; whoever has more customers than features scored learns a linear model anyway, so the number of
// customers is the grant's to bound. An asker must not hand scores back with more digits than they come with: CKKS is not secure then
// (eprint 2020/1533). Nothing computed from subjects' data goes under an asker's key.
//
// # A partner's secret model
//
// Joint goes the other way: a partner's linear model over the domain's data, under a key that gate and partner have together. The domain
// encrypts average features of groups that may leave, which package released alone takes out of a result that the gate checked or that was
// approved; the partner applies its weights and shares the opening of what it made; the gate reads and decides. JointPlan fixes one run, JointGate and
// JointPartner are its sides: messages signed for the plan, keys committed to before they are shown, all scores read or none, once.
//
// The domain learns no weight but what scores say: with more scores than features, of averages that differ, that is all of them, and a domain that
// deviates may encrypt what it likes in each ciphertext, of which there are as many as the partner agreed to answer. The partner learns nothing before
// the gate has decided but whether the gate could read, and that it withheld: groups are padded to the number it answers, all ciphertexts are opened
// whatever fails, averages beyond its ranges count as their ends. A result without a group, or with more than the partner answers, goes the same way as
// padding alone and is withheld at its end: that bit is the partner's, once for its one opened run over a result. A
// partner that deviates has the gate read another function of averages that may leave, or of the gate's part of this run's key, within the span and the
// decimals of a score. That the weights it committed to were used nothing proves: who is shown weights and salt recomputes it from the averages.
//
// # What is ours and not the library's
//
//   - Codec: coefficients only, exact lengths, each below its modulus; the library's decoder ends the process on a ciphertext one byte short.
//   - Flooding: uniform noise of up to 127 bits. The library's lies on a grid: two of three parties take the third's secret from two shares
//     in a second. The attack is a test, and fails on ours.
//   - Encrypting sums and features, and decryption shares: the library's arithmetic in half its time, with draws in constant time.
//   - Once: one share for a ciphertext and one set of openers, in the adapter; one sum an epoch, durably "issued" before a share is made,
//     in the Ledger. A failure is followed by a new epoch with new keys, never by a second try.
//   - Reduction: shares of the library may have coefficients of their modulus or more; they are reduced before they are encoded.
//
// For reviewers: what is drawn for encrypting sums and features, for shares and for flooding comes from SM4 in counter mode, under a key
// read from the reader passed in for each operation. Keys, single customers' ciphertexts and the encryption of zero over a score are
// the library's own: from crypto/rand by itself (BLAKE2b as an XOF over a 64-byte seed), by samplers that are not constant in time. SM
// algorithms cover everything around the lattice: signatures, seals, digests; the common reference polynomial is expanded with BLAKE2b
// from an SM3 digest of the plan, the second half of an asker's ciphertext with SM4 from a seed that is sent in its place.
//
// # What a domain runs
//
// A domain's node runs sums of one dataset's rows (counts, sums, means, histograms, dot products, ratios, variances, correlations and their kin), from the
// question's decision to its review:
//
//	asker       opdomain he sum ask, show, again, end   the question, and who contributes and opens
//	owner       opdomain he approve                     what its unit takes part in, keys compared and pinned
//	unit        opdomain he unit                        compiles the question itself, adds up its own rows, encrypts, shares
//	domain      serve --sum-begin, --sum-step, --sum-wait   carries messages, takes the gate's steps, ends what is silent or stopped
//
// And products, of two datasets that different units own, whose rows are joined by the person, with the same commands: asked over a list by its digest and
// its length (he sum ask --list), which both owners have (he list) and the domain does not. Counts, sums, means, dot products, ratios, variances, covariances,
// correlations and histograms, in groups of either side. The holders come first in the plan, others mask and open, all of them where nothing else is said; two
// are enough. The gate judges by people who have rows at both, exactly, and by what the holders state; a total of which nothing shows that not all add the
// same is hidden, as round amounts over a round number of people sometimes are. A unit's program fills its side with the list
// that its owner approved and with no other, and takes part over no list that is nearly an earlier one, which is said and tells of no row; nor where those whom
// it has of a list, how many rows they have, or what is in them, are nearly as of an earlier one: then it leaves for its rows, as for any fault in them. What
// remains: domain and units see that it left, and who asked that an epoch ended; of a list far from all earlier ones that may mean that few of those who
// differ, or whose rows changed, have rows at one holder. A domain that tells who asked tells with which holder.
//
// A dataset is one that the domain knows: registered, its rows never pushed, or pushed by its owner while the other units keep theirs. The domain
// holds the messages of two steps in memory, within SumLimits (four epochs, 512 MiB in all), which bounds the units of an epoch to some 50. A
// message of 64 MiB bounds a joined correlation to some 16,000 people, 24,000 where its columns declare ranges to 100,000.00. A unit whose
// process or domain stopped takes part again from the next epoch. An approval that lets epochs with fewer units follow trusts the
// gate with the difference of two sums: where it does not say so (--least), all units of the approved plan take part or none.
//
// It scores (密态评分): a model is filed by an operator or a partner, its weights sealed and committed to (package scorecard), and approved by
// an agency that can read them; a scenario lists it with customers a day and in all, of its parties together; whoever is party to it has
// customers scored, each counted and metered before anything is computed, in an engine in the jail that ends with the request. ScoreOne counts
// a customer. Score counts BatchCustomers, however many an asker says are in it, since nothing shows how many there are.
//
// It runs a party's secret model (保密模型): a scenario says how often, policy.DecideJoint over which released result and with which of its means and ratios.
//
//	party       opdomain he partner explain, run, show, end, check   its model stays with it; signs features, ranges, groups, decimals, a commitment
//	domain      decides at each step, encrypts, puts the party's shares on record before it reads, brings scores before reviewers as a result of class A
//
// A run is counted and charged when it begins, however it ends; a party has one opened run over a result. What stopped with the domain is ended on
// record at its next start. Scores are released while the result that they are made of stands.
//
// # The adapter's process
//
// All lattice arithmetic is behind Engine: Local runs in this process, Child in one of its own, which holds the key parts and is all that a
// fault of the library can take down. Package jailed starts a Child in the jail; Program bounds its memory and files alone, for demos
// on machines that lack a layer. Errors are *sandbox.Error, *Refused for a plan or *Abort for an epoch; none names a value.
package he
