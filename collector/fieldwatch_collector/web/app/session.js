// Who is logged in; shared by the shell and the pages that log in.
import { createContext } from "preact";
import { useContext } from "preact/hooks";

// {principal: {name, role} | null | undefined (not known yet), setPrincipal}
export const Session = createContext({ principal: undefined, setPrincipal: () => {} });

export const useSession = () => useContext(Session);
