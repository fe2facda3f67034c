// Time and quota left, in JupyterLab: an item of the status bar, and a notice before the session is stopped.
//
// Complete as it is: no build step. It is the "remote entry" of a federated extension, and does by hand what webpack
// would generate: a container with init() and get(), which takes JupyterLab's own modules from the share scope
// (jupyterlab 4, staging/bootstrap.js and staging/index.js; webpack, "Module Federation").
"use strict";
(() => {
  const NAME = "nbfed-lab";
  const FIRST_MS = 1500;
  let scope = {};

  // A module that JupyterLab shares; of several versions the one in use. undefined where the page has none.
  const shared = async (name) => {
    const versions = Object.entries(scope[name] ?? {});
    const inUse = versions.find(([, entry]) => entry.loaded);
    const newest = versions.sort(([a], [b]) => b.localeCompare(a, "en", { numeric: true }))[0];
    const chosen = inUse ?? newest;
    return chosen && (await chosen[1].get())();
  };

  const activate = ({ ServerConnection }, { Notification }, { Widget }) => (app, statusBar) => {
    const server = app.serviceManager.serverSettings;
    const address = `${server.baseUrl}nbfed/session`;
    const item = new Widget({ node: document.createElement("a") });
    item.addClass("jp-StatusBar-TextItem");
    item.id = NAME;
    Object.assign(item.node, { target: "_blank", rel: "noopener" });
    Object.assign(item.node.style, { lineHeight: "24px", padding: "0 4px" });
    statusBar?.registerStatusItem(`${NAME}:session`, { item, align: "left", rank: 100 });

    let texts = {}, home = "", told = null, timer = 0, pauseMs = 60000;

    const show = (text, title = "", stops = false) => {
      item.node.textContent = text;
      item.node.title = title;
      item.node.style.fontWeight = stops ? "600" : "";
    };

    // The moment of a text, in the reader's zone.
    const timed = (text, answer) => {
      if (!answer.stop_at) return text;
      const style = { hour: "numeric", minute: "2-digit", timeZoneName: "short" };
      const time = new Intl.DateTimeFormat(answer.language, style).format(new Date(answer.stop_at));
      return text.replace("{time}", time);
    };

    // One notice for one stop: kept up to date, and gone when there is no reason for it any more. One that was closed
    // comes back only if the session will be stopped at another moment.
    const tell = (answer) => {
      const { notice } = answer;
      if (!notice) {
        if (told) Notification.dismiss(told.id);
        told = null;
        return;
      }
      const message = timed(notice.text, answer);
      if (told?.message === message) return;
      const actions = [{ label: texts.home, callback: () => window.open(home, "_blank", "noopener") }];
      if (notice.reason === "idle") {
        actions.unshift({ label: texts.keep, displayType: "accent", callback: () => void ask("POST") });
      }
      const options = { autoClose: false, actions };
      if (told?.reason === notice.reason && Notification.update({ id: told.id, message, type: "warning", ...options })) {
        told.message = message;
        return;
      }
      if (told) Notification.dismiss(told.id);
      told = { id: Notification.warning(message, options), reason: notice.reason, message };
    };

    const ask = async (method = "GET") => {
      clearTimeout(timer);
      try {
        const response = await ServerConnection.makeRequest(address, { method, cache: "no-store" }, server);
        if (response.ok) {
          const answer = await response.json();
          ({ texts, home_url: home } = answer);
          item.node.href = home;
          show(timed(answer.status, answer), answer.detail, Boolean(answer.notice));
          tell(answer);
          pauseMs = 1000 * answer.ask_again_seconds;
        } else {
          // 424: the proxy's answer for a session that is over. Of anything else nothing is known.
          show((response.status === 424 ? texts.over : texts.away) ?? "");
        }
      } catch {
        show(texts.away ?? "");
      }
      // A little apart, so that the pages of a whole course do not ask in the same second.
      timer = setTimeout(again, pauseMs * (0.9 + 0.2 * Math.random()));
    };

    // A page that nobody sees asks nothing; once it is seen it asks at once.
    const again = () => {
      if (document.visibilityState === "visible") void ask();
      else timer = 0;
    };
    document.addEventListener("visibilitychange", () => {
      if (!timer) again();
    });
    // Opening the page is use: nobody opens a session and finds it stopped a minute later.
    void app.restored.then(() => { timer = setTimeout(() => ask("POST"), FIRST_MS); });
  };

  const load = async () => {
    const names = ["@jupyterlab/services", "@jupyterlab/apputils", "@lumino/widgets"];
    const [services, apputils, widgets, bar] = await Promise.all([...names, "@jupyterlab/statusbar"].map(shared));
    const plugin = {
      id: `${NAME}:session`,
      description: "Shows time and quota left, and tells before the session is stopped.",
      autoStart: true,
      optional: bar ? [bar.IStatusBar] : [], // Jupyter Notebook has no status bar
      activate: activate(services, apputils, widgets),
    };
    const exports = { __esModule: true, default: plugin };
    return () => exports;
  };

  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB[NAME] = { init: (shareScope) => { scope = shareScope; }, get: load };
})();
