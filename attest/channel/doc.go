// Package channel carries bytes between a domain and those who deal with it: sealed streams and bulk connections of one
// sender (密封数据流), and the listeners (通信信道) a server is reached through. SM2, SM3 and SM4-GCM come from attest/sm.
//
// # Streams
//
// A stream runs inside a body that something else carries: Writer, Reader. An opening message, signed by the sender (SM2,
// context "opdomain/stream/v1") before or beside the frames, names both
// ends, run, dataset, part, schema digest and time, and carries a random 32-byte secret sealed to the receiver's SM2 key.
// The frame key is HKDF-SM3 of the secret bound to the SM3 of the opening, so frames of another opening never verify and
// every connection and retry has its own key.
//
// # Frames
//
//	offset  size  field
//	0       4     magic "ODF1"
//	4       1     flags: bit 0 last
//	5       3     zero
//	8       8     sequence, uint64 big endian, from 0
//	16      4     payload length, uint32 big endian, at most 1 MiB
//	20      n+16  payload under SM4-GCM, nonce = 4 zero bytes ‖ sequence, associated data = the 20-byte header ‖ SM3(opening)
//
// Sequence 0 is an empty confirmation that the sender holds the key; the last frame is empty and flagged, and nothing
// follows it. The receiver demands every sequence in turn and checks a length before it allocates. One stream carries at
// most 2^40 bytes of payload, the bound of one key.
//
// Bytes that fail are one Tampered error with the frame's number, and so is a stream that stops early, whose cause is
// io.ErrUnexpectedEOF; io.EOF means a whole stream and nothing else. A transport that fails is Unavailable, or what the
// transport's own error says. It gives no replay protection across streams (a run id is used once, which the receiver
// keeps) and no flow control (the transport does).
//
// # Bulk connections
//
// A bulk connection (批量数据连接) is a TCP connection of its own between BulkSender and BulkReceiver: TLCP records are
// too slow for data. What goes over it, integers big endian:
//
//	sender    "ODB1" ‖ uint32 length ‖ uint16 length ‖ opening ‖ SM2 signature under BulkContext
//	receiver  "ODC1" ‖ 32 random bytes N ‖ HMAC-SM3 of (opening, signature, N) under the confirmation key
//	sender    frames of the layout above with magic "ODF2", sequence from 1; the last one is empty and flagged
//	receiver  acknowledgements of 40 bytes: "ODA1" ‖ flags ‖ 3 zero ‖ uint64 counter from 0 ‖ sealed uint64 sequence;
//	          the final one is flagged and names the last frame
//
// The three keys are HKDF-SM3 of the stream secret, salted with SM3(opening), bound to N and to "confirm", "frames" or
// "acks": every connection and direction has its own, a replayed opening or frame meets another N, and nothing is sent to
// a receiver that has not proved itself. An acknowledged sequence is durable with all before it. The sender holds at most
// a window of bytes that are not, and blocks; the receiver reads three frames ahead. Both ends see the stream's end
// authenticated: Recv gives io.EOF only after the last frame, Finish of the sender returns only after the final
// acknowledgement. There is no forward secrecy: who later gets the receiver's decryption key opens a recorded connection.
// Deadlines belong to the transport; a connection that is closed frees both ends.
//
// # Listeners
//
// Listener is the seam a server listens through: Plain on loopback only, TLS 1.3 for browsers, TLCP (GB/T 38636) with
// certificates on both sides. WithPeer puts the peer's certified name into a connection's context, Peer takes it out;
// without TLCP there is none.
package channel
