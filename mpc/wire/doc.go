// Package wire carries the messages of several parties that compute together (多方计算通信): a Mesh of mutually authenticated, sealed
// links, one for each pair, over a Transport that may be TCP or memory. SM2, SM3 and SM4-GCM come from attest/sm.
//
// Protocols are straight-line: both ends of a link know which message comes next, under which tag and of which length. Post names
// where the next message of a peer goes, before it comes; nothing is allocated by what a peer says. What is not the expected frame
// ends the session.
//
// # Handshake
//
// The dialling party D and the accepting party A of a pair, integers big endian:
//
//	D → A  hello: "ODM1" ‖ from ‖ to ‖ SM3 of the job ‖ 32 random bytes ‖ ephemeral SM2 point ‖ length ‖ SM2 signature
//	A → D  hello of the same form, then secret: "ODM2" ‖ length ‖ 32 random bytes sealed to the peer's ephemeral point ‖ length ‖ signature
//	D → A  secret of the same form, then a first frame, empty
//	A → D  a first frame, empty
//
// A hello's signature covers both identities and their keys, a secret's covers both hellos. The master secret is HKDF-SM3 of both
// secrets, salted with SM3 of the four messages. Ephemeral keys are forgotten with the handshake, so a recorded link stays closed to
// who gets the identities' keys later. A stranger who connects costs a bounded handshake and nothing else: it has five seconds for a hello that
// verifies, and where 64 are under way each new call closes the oldest of the address that has the most, so that nobody is kept out by who came
// first. Peers whose addresses are known have places of their own. A peer whose call is ended without an answer calls again, a few times. Against
// a flood of thousands of calls a second from a peer's own address, or of tens of thousands from anywhere, a filter before the party is needed.
//
// # Frames
//
//	offset  size  field
//	0       4     magic "ODMF"
//	4       4     tag
//	8       8     sequence, from 0
//	16      4     payload length, at most 128 KiB
//	20      n+16  payload under SM4-GCM, nonce = 4 zero bytes ‖ sequence, associated data = session ‖ from ‖ to ‖ the 20-byte header
//
// Each direction of each connection has its own key; Bind gives all of them new keys that hang on the session's id, and counts from 0
// again. A message longer than a frame is several frames with one tag.
//
// # Ends
//
// Whatever fails, and whatever does not come by the deadline, closes every link of the mesh, and with that the peers'; the error is
// one *Abort on every call from then on. Its cause stays on this side: peers see a closed connection. A party cannot go on after an
// abort; a new run is a new mesh.
//
// Chains give a running SM3 over header and authentication tag of every frame of a link. Both ends can compare them; against
// outsiders they bind the payloads, but the two ends of a link know its key, with which other payloads of the same tag are found: such a
// chain does not prove to a third what was in a frame. With Config.Payloads the payload follows the tag, and a chain that both ends signed
// binds both: who keeps frames can show them. It costs SM3 over every byte at both ends, at about a seventh
// of the speed of sealing, which a run whose parties are trusted to follow the protocol need not pay. (A fast universal hash would not do: its
// key must be unknown to the ends, who make the payloads.)
//
// It gives no retransmission, no broadcast and no fairness: who gets the last message may know more than who does not.
package wire
