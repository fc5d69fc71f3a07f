// Looks again and again: soon while things change, seldom while they do not.

import { useEffect, useRef } from "./ui.js";

export const SHORTEST_MS = 2_000;
export const LONGEST_MS = 30_000;
const GROWTH = 1.5;

/**
 * Calls `look` after pauses that grow from 2 to 30 seconds, and are short again when `seen`, a text
 * that says what the last look showed, has changed. There are no looks while the tab is hidden or
 * `isOn` is false.
 */
export function usePolling(look, seen, isOn = true) {
  const latest = useRef(look);
  latest.current = look;
  useEffect(() => {
    if (!isOn) return undefined;
    let pause = SHORTEST_MS;
    let timer;
    const wait = () => {
      clearTimeout(timer);
      if (!document.hidden) timer = setTimeout(again, pause);
    };
    const again = () => {
      pause = Math.min(pause * GROWTH, LONGEST_MS);
      latest.current();
      wait();
    };
    const shown = () => {
      clearTimeout(timer);
      if (document.hidden) return;
      pause = SHORTEST_MS;
      again();
    };
    wait();
    document.addEventListener("visibilitychange", shown);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [seen, isOn]);
}
