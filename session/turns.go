package session

import (
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

const (
	turnsWaiting = 256       // commands of one connection that may wait for the gate
	turnsBytes   = 256 << 10 // of these
	allTurns     = 64 << 20  // bytes of the commands of all that may wait, or be with the gate
	turnOverhead = 512       // bytes that a command counts beside its fields
)

// turns has the commands of one client carried out one at a time, in the order
// in which they came, while the gate decides on some of them. Nobody waits for
// it: who brings a command goes on, and who brings a verdict carries out what has
// waited for it.
type turns struct {
	bounded bool // turnsWaiting and turnsBytes hold

	mu      sync.Mutex
	busy    bool // a turn is with the gate, or is being carried out after it
	waiting []turn
	bytes   int // of those that wait
}

// turn is a command that waits, with its session.
type turn struct {
	session *Session
	cmd     *proto.Command // a copy; nil for the user's admission to the connection
	reply   []byte         // of an admission: the id to answer with
	size    int
}

// held counts what waits for the gate, in all.
type held struct {
	commands atomic.Int64
	bytes    atomic.Int64
}

func (h *held) register(set *metrics.Set) {
	set.NewGauge("throng_gate_waiting_commands", func() float64 { return float64(h.commands.Load()) })
	set.NewGauge("throng_gate_waiting_bytes", func() float64 { return float64(h.bytes.Load()) })
}

func (h *held) count(commands, bytes int) {
	h.commands.Add(int64(commands))
	h.bytes.Add(int64(bytes))
}

// inLine returns the session's turns. It is called by whoever brings commands.
func (s *Session) inLine() *turns {
	r := s.own()
	if r.turns == nil {
		r.turns = &turns{bounded: true}
	}
	return r.turns
}

// inTurn carries out a command once those before it have been. The command is
// borrowed; the error is what is known at once.
func (s *Session) inTurn(cmd *proto.Command) *proto.Error {
	t := s.inLine()
	if waits, err := t.wait(s, cmd); waits || err != nil {
		return err
	}
	// From here on nothing is under way, and nobody else brings commands.
	if !s.decided(cmd) {
		return s.dispatch(cmd)
	}
	if err := s.check(cmd); err != nil {
		return err
	}
	n, err := s.newTurn(cmd)
	if err != nil {
		return err
	}
	t.begin(n)
	return nil
}

// begin carries out a turn that nothing is under way before.
func (t *turns) begin(n turn) {
	t.mu.Lock()
	t.busy = true
	t.mu.Unlock()
	t.run(n)
}

// newTurn copies a command that cannot be carried out at once.
func (s *Session) newTurn(cmd *proto.Command) (turn, *proto.Error) {
	size := commandSize(cmd) + turnOverhead
	all := &s.manager.held
	if all.bytes.Load()+int64(size) > allTurns {
		return turn{}, proto.ErrOverloaded.With("more commands wait for the application's decision than fit in memory")
	}
	all.count(1, size)
	return turn{session: s, cmd: cloneCommand(cmd), size: size}, nil
}

// wait has a command wait where another is under way.
func (t *turns) wait(s *Session, cmd *proto.Command) (waits bool, _ *proto.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.busy {
		return false, nil
	}
	if t.bounded && (len(t.waiting) >= turnsWaiting || t.bytes+commandSize(cmd) > turnsBytes) {
		return false, proto.ErrOverloaded.With("%d commands wait for the application's decision, as many as may", len(t.waiting))
	}
	n, err := s.newTurn(cmd)
	if err != nil {
		return false, err
	}
	t.bytes += n.size
	t.waiting = append(t.waiting, n)
	return true, nil
}

// run carries out a turn, and then those that wait, until one is with the gate.
func (t *turns) run(n turn) {
	for ok := true; ok; n, ok = t.next() {
		if !t.proceed(n) {
			return
		}
		n.release()
	}
}

// done goes on after a turn on which the gate has answered late.
func (t *turns) done(n turn) {
	n.release()
	if next, ok := t.next(); ok {
		t.run(next)
	}
}

// release stops counting the turn.
func (n turn) release() {
	if n.cmd != nil {
		n.session.manager.held.count(-1, -n.size)
	}
}

// next takes the first turn that waits. Where there is none, commands need not
// wait any more.
func (t *turns) next() (turn, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.busy, t.waiting = false, nil
		return turn{}, false
	}
	n := t.waiting[0]
	t.waiting[0] = turn{}
	t.waiting = t.waiting[1:]
	t.bytes -= n.size
	return n, true
}

// proceed carries out a turn, or brings it to the gate. It reports false where
// the gate's answer goes on.
func (t *turns) proceed(n turn) bool {
	s := n.session
	var err *proto.Error
	switch {
	case s.over():
		return true
	case n.cmd == nil:
		return t.ask(n)
	case !s.decided(n.cmd):
		err = s.dispatch(n.cmd)
	default:
		if err = s.check(n.cmd); err == nil {
			return t.ask(n)
		}
	}
	if err != nil {
		s.fail(n.cmd, err)
	}
	return true
}

// fields visits the command's slices.
func fields(cmd *proto.Command, visit func(*[]byte)) {
	for _, f := range [...]*[]byte{
		&cmd.ID, &cmd.Token, &cmd.DeviceType, &cmd.DeviceOS, &cmd.Room, &cmd.Since.Epoch, &cmd.Key,
		&cmd.Content, &cmd.Cursor, &cmd.Epoch, &cmd.User, &cmd.Status,
	} {
		visit(f)
	}
}

func commandSize(cmd *proto.Command) int {
	size := 0
	fields(cmd, func(f *[]byte) { size += len(*f) })
	return size
}

// cloneCommand returns a command of its own, in one piece of memory beside it.
func cloneCommand(cmd *proto.Command) *proto.Command {
	kept := &proto.Command{
		Type: cmd.Type, ID: cmd.ID, Token: cmd.Token, DeviceType: cmd.DeviceType, DeviceOS: cmd.DeviceOS,
		Room: cmd.Room, Since: cmd.Since, Echo: cmd.Echo, Key: cmd.Key, Content: cmd.Content, Kind: cmd.Kind,
		Transient: cmd.Transient, History: cmd.History, Cursor: cmd.Cursor, Epoch: cmd.Epoch, Offset: cmd.Offset,
		Action: cmd.Action, User: cmd.User, Max: cmd.Max, Status: cmd.Status, Timestamp: cmd.Timestamp,
	}
	buf := make([]byte, 0, commandSize(cmd))
	fields(kept, func(f *[]byte) {
		if *f != nil {
			start := len(buf)
			buf = append(buf, *f...)
			*f = buf[start:len(buf):len(buf)]
		}
	})
	return kept
}
