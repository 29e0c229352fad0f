// Marks: what a reload should not forget of a user's direct conversations: the
// last message that was read, and the last of our own that has arrived. They
// stay in this browser.

const PEERS_MAX = 200; // of each kind; past it the longest unchanged go

export class Marks {
  #key;

  constructor(user) {
    this.#key = `throng.marks.${user}`;
  }

  // get returns a mark of a kind ("read" or "delivered"): a message's id, or
  // "" for none. Ids sort as messages do.
  get(kind, peer) {
    return new Map(this.#load()[kind]).get(peer) ?? "";
  }

  // raise sets a mark, unless it is higher already.
  raise(kind, peer, msgId) {
    const marks = this.#load(); // another window may have changed them
    const peers = new Map(marks[kind]);
    if ((peers.get(peer) ?? "") >= msgId) return;
    peers.delete(peer);
    peers.set(peer, msgId);
    marks[kind] = [...peers].slice(-PEERS_MAX);
    localStorage.setItem(this.#key, JSON.stringify(marks));
  }

  #load() {
    return JSON.parse(localStorage.getItem(this.#key) ?? "{}");
  }
}
