// The account: who this window is on a server that asks. It logs in and out,
// keeps its tokens for as long as the window lives, and gets a fresh one when
// the old one ends. A token from elsewhere does as well, but ends for good.

const STORED = "throng.account";

// Refused is what the server says to a login that it does not accept.
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || "the server refused this");
    this.name = "Refused";
    this.code = problem.code;
  }
}

export class Account {
  #access;
  #refresh; // "" for a token from elsewhere
  #refreshing = null; // the promise of a refresh that is under way

  constructor(access = "", refresh = "") {
    this.#access = access;
    this.#refresh = refresh;
  }

  // stored returns what this window knew before it was loaded anew.
  static stored() {
    const { access = "", refresh = "" } = JSON.parse(sessionStorage.getItem(STORED) ?? "{}");
    return new Account(access, refresh);
  }

  // login returns the account of that name; with register, after making it.
  // It fails with Refused.
  static async login(username, password, register = false) {
    if (register) await call("register", { username, password });
    const account = new Account();
    account.#take(await call("login", { username, password }));
    return account;
  }

  // token is "" where nobody has logged in.
  get token() {
    return this.#access;
  }

  get renewable() {
    return this.#refresh !== "";
  }

  keep() {
    sessionStorage.setItem(STORED, JSON.stringify({ access: this.#access, refresh: this.#refresh }));
  }

  // renew gets a fresh token. A refresh token is good for one use: whoever
  // asks meanwhile waits for the one request. It fails with Refused where the
  // login has ended, and with another error where the server is out of reach.
  renew() {
    this.#refreshing ??= this.#renew().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  async #renew() {
    this.#take(await call("refresh", { refreshToken: this.#refresh }));
    this.keep();
  }

  // logout ends the login, here and on the server, if it can be reached.
  logout() {
    sessionStorage.removeItem(STORED);
    if (!this.renewable) return;
    call("logout", { refreshToken: this.#refresh }).catch(() => {}); // it ends by itself, too
    this.#access = this.#refresh = "";
  }

  #take({ accessToken, refreshToken }) {
    this.#access = accessToken;
    this.#refresh = refreshToken;
  }
}

// call sends a request to the server's API and returns what it answers.
async function call(path, body) {
  const response = await fetch(`/api/v1/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.status === 204) return null;
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer);
  return answer;
}
